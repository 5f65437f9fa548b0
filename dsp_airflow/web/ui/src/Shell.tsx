/** The frame of all pages: which there are, at the left; the one that is looked at, beside them. */

import { Badge, Box, Link as ChakraLink, Flex, Stack } from "@chakra-ui/react";
import { Link, Route, Routes, useLocation } from "react-router-dom";
import { places } from "./address";
import { address } from "./api";
import { RequestPage } from "./approvals/RequestPage";
import { RequestsPage } from "./approvals/RequestsPage";
import { ConnectionsPage } from "./connections/ConnectionsPage";
import { HomePage } from "./home/HomePage";
import { JobPage } from "./monitoring/JobPage";
import { MonitoringPage } from "./monitoring/MonitoringPage";
import { RunPage } from "./monitoring/RunPage";
import { Empty } from "./parts/States";
import { PermissionsPage } from "./permissions/PermissionsPage";
import { usePolled } from "./polling";
import { ProcessesPage } from "./processes/ProcessesPage";
import { ProcessForm } from "./processes/ProcessForm";
import { ReportsPage } from "./reports/ReportsPage";
import { SchedulingPage } from "./scheduling/SchedulingPage";
import type { Me } from "./shapes";
import { NewTaskPage } from "./tasks/NewTaskPage";
import { TaskPage } from "./tasks/TaskPage";
import { TasksPage } from "./tasks/TasksPage";
import { words } from "./words";

const ME_EVERY = 15_000;

export function Shell() {
  const me = usePolled<Me>(address("me"), ME_EVERY).data;
  return (
    <Flex align="start" minH="100%" direction={{ base: "column", md: "row" }}>
      <SideBar me={me} />
      <Box as="main" flex="1" minW={0} w="full" p={4} fontSize="sm">
        <Routes>
          <Route index element={<HomePage me={me} />} />
          <Route path="monitoring" element={<MonitoringPage />} />
          <Route path="monitoring/:type" element={<MonitoringPage />} />
          <Route path="monitoring/:type/:tab" element={<MonitoringPage />} />
          <Route path="runs/:run" element={<RunPage />} />
          <Route path="runs/:run/jobs/:job" element={<JobPage />} />
          <Route path="runs/:run/jobs/:job/differences" element={<JobPage differences />} />
          <Route path="scheduling" element={<SchedulingPage />} />
          <Route path="tasks" element={<TasksPage />} />
          <Route path="new-task" element={<NewTaskPage me={me} />} />
          <Route path="tasks/:task" element={<TaskPage />} />
          <Route path="tasks/:task/:part" element={<TaskPage />} />
          <Route path="approvals" element={<RequestsPage />} />
          <Route path="approvals/:list" element={<RequestsPage />} />
          <Route path="requests/:request" element={<RequestPage />} />
          <Route path="processes" element={<ProcessesPage />} />
          <Route path="processes/new" element={<ProcessForm />} />
          <Route path="processes/edit/:process" element={<ProcessForm />} />
          <Route path="permissions" element={<PermissionsPage me={me} />} />
          <Route path="permissions/:tab" element={<PermissionsPage me={me} />} />
          <Route path="connections" element={<ConnectionsPage me={me} />} />
          <Route path="reports" element={<ReportsPage />} />
          <Route path="reports/:report" element={<ReportsPage />} />
          <Route
            path="*"
            element={<Empty title={words.pages.unknown} step={words.pages.unknownStep} />}
          />
        </Routes>
      </Box>
    </Flex>
  );
}

function SideBar({ me }: { me: Me | undefined }) {
  const { pathname } = useLocation();
  const under = (...parts: string[]) =>
    parts.some((part) => pathname.startsWith(`${places.home}/${part}`));
  const entries = [
    {
      to: places.home,
      text: words.pages.home,
      current: pathname.replace(/\/$/, "") === places.home,
      count: 0,
    },
    {
      to: places.monitoring(),
      text: words.pages.monitoring,
      current: under("monitoring", "runs"),
      count: 0,
    },
    {
      to: places.scheduling,
      text: words.pages.scheduling,
      current: under("scheduling"),
      count: 0,
    },
    {
      to: places.tasks,
      text: words.pages.tasks,
      current: under("tasks", "new-task"),
      count: 0,
    },
    {
      to: places.approvals(),
      text: words.pages.approvals,
      current: under("approvals", "requests"),
      count: me?.waiting ?? 0,
    },
    ...(me?.may_change_processes
      ? [
          {
            to: places.processes,
            text: words.pages.processes,
            current: under("processes"),
            count: 0,
          },
        ]
      : []),
    {
      to: places.permissions(),
      text: words.pages.permissions,
      current: under("permissions"),
      count: 0,
    },
    {
      to: places.connections,
      text: words.pages.connections,
      current: under("connections"),
      count: 0,
    },
    { to: places.reports(), text: words.pages.reports, current: under("reports"), count: 0 },
  ];
  return (
    <Box
      as="nav"
      aria-label={words.pages.label}
      w={{ base: "full", md: "11rem" }}
      flexShrink={0}
      p={3}
      position={{ md: "sticky" }}
      top={0}
    >
      <Stack
        gap={1}
        direction={{ base: "row", md: "column" }}
        wrap={{ base: "wrap", md: "nowrap" }}
      >
        {entries.map((entry) => (
          <ChakraLink
            asChild
            key={entry.to}
            px={3}
            py={1.5}
            borderRadius="md"
            fontSize="sm"
            justifyContent="space-between"
            bg={entry.current ? "brand.muted" : "transparent"}
            fontWeight={entry.current ? "semibold" : "normal"}
            _hover={{ bg: "brand.subtle", textDecoration: "none" }}
          >
            <Link to={entry.to} aria-current={entry.current ? "page" : undefined}>
              {entry.text}
              {entry.count > 0 && (
                <Badge colorPalette="awaiting_input" variant="solid" borderRadius="full">
                  {entry.count}
                </Badge>
              )}
            </Link>
          </ChakraLink>
        ))}
      </Stack>
    </Box>
  );
}
