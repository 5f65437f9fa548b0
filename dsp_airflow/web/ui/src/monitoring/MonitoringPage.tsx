/** Runs by what their jobs are, and by how they stand. */

import { Navigate, useParams } from "react-router-dom";
import { places } from "../address";
import { Tabs, Title } from "../parts/layout";
import type { Tab } from "../shapes";
import { words } from "../words";
import { Runs } from "./Runs";

type Kind = keyof typeof words.monitoring.kinds;

const KINDS = Object.keys(words.monitoring.kinds) as Kind[];
const TABS = Object.keys(words.monitoring.tabs) as Tab[];

export function MonitoringPage() {
  const { type, tab } = useParams();
  const kind = KINDS.find((one) => one === type);
  const state = TABS.find((one) => one === tab);
  if (kind === undefined || state === undefined) {
    return <Navigate to={places.monitoring(kind)} replace />;
  }
  return (
    <>
      <Title>{words.monitoring.title}</Title>
      <Tabs
        label={words.monitoring.columns.strategy}
        tabs={KINDS.map((one) => ({
          to: places.monitoring(one, state),
          text: words.monitoring.kinds[one],
          current: one === kind,
        }))}
      />
      <Tabs
        label={words.monitoring.columns.state}
        tabs={TABS.map((one) => ({
          to: places.monitoring(kind, one),
          text: words.monitoring.tabs[one],
          current: one === state,
        }))}
      />
      <Runs key={`${kind} ${state}`} tab={state} type={kind} />
    </>
  );
}
