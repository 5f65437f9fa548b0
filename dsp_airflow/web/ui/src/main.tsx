/**
 * Gives Airflow the components that the plugin's `react_apps` name.
 *
 * Airflow loads the bundle once for all of them, so each is set by its name.
 */

import type { ComponentType } from "react";
import { DagTab, Panel, type Place, RunTab } from "./monitoring/embedded";
import { Shell } from "./Shell";

/** By the names in dsp_airflow/web/pages.py. */
const COMPONENTS: Readonly<Record<string, ComponentType<Place>>> = {
  DSP: Shell,
  "DSP runs": DagTab,
  "DSP run": RunTab,
  "DSP panel": Panel,
};

for (const [name, component] of Object.entries(COMPONENTS)) {
  Reflect.set(globalThis, name, component);
}
