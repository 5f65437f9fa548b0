/** Reports over a period: jobs, what is abnormal, archives and drills of them, what flowed where. */

import { Flex, Text } from "@chakra-ui/react";
import { Navigate, useLocation, useParams } from "react-router-dom";
import { places } from "../address";
import { Tabs, Title } from "../parts/layout";
import { words } from "../words";
import { Abnormal } from "./Abnormal";
import { Archives } from "./Archives";
import { Drills } from "./Drills";
import { Flow } from "./Flow";
import { Jobs } from "./Jobs";

const text = words.reports;
type Report = keyof typeof text.reports;
const REPORTS = {
  jobs: Jobs,
  abnormal: Abnormal,
  archives: Archives,
  drills: Drills,
  flow: Flow,
} as const;

export function ReportsPage() {
  const { report } = useParams();
  const { search } = useLocation();
  const shown = (Object.keys(REPORTS) as Report[]).find((one) => one === report);
  if (shown === undefined) {
    return <Navigate to={places.reports()} replace />;
  }
  // The period goes along from one report to the next; what else was chosen is each one's own.
  const period = new URLSearchParams();
  for (const name of ["since", "until"]) {
    const value = new URLSearchParams(search).get(name);
    if (value !== null) {
      period.set(name, value);
    }
  }
  const kept = period.size > 0 ? `?${period}` : "";
  const Shown = REPORTS[shown];
  return (
    <>
      <Flex justify="space-between" align="baseline" gap={4} wrap="wrap">
        <Title>{text.title}</Title>
        <Text fontSize="xs" color="fg.muted">
          {text.usual}
        </Text>
      </Flex>
      <Tabs
        label={text.title}
        tabs={(Object.keys(REPORTS) as Report[]).map((one) => ({
          to: places.reports(one, kept),
          text: text.reports[one],
          current: one === shown,
        }))}
      />
      <Shown key={shown} />
    </>
  );
}
