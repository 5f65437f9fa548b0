import { defineConfig } from "vitest/config";

/** What Airflow's own pages put into the browser; a second copy of React would not work. */
const OF_AIRFLOW = {
  react: "React",
  "react-dom": "ReactDOM",
  "react/jsx-runtime": "ReactJSXRuntime",
  "react-router-dom": "ReactRouterDOM",
  "@chakra-ui/react": "ChakraUI",
};

export default defineConfig({
  define: { "process.env.NODE_ENV": JSON.stringify("production") },
  build: {
    outDir: "../static",
    emptyOutDir: true,
    target: "es2022",
    lib: { entry: "src/main.tsx", formats: ["iife"], name: "DspPages", fileName: () => "dsp.js" },
    rolldownOptions: {
      external: Object.keys(OF_AIRFLOW),
      output: { globals: OF_AIRFLOW },
    },
  },
  test: { include: ["src/**/*.test.ts"], environment: "node" },
});
