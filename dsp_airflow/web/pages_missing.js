// Stands where the bundle of the pages is not built, and says so in each of their places.
for (const name of ["DSP", "DSP runs", "DSP run", "DSP panel"]) {
  globalThis[name] = () =>
    globalThis.React.createElement(
      "p",
      { style: { padding: "1.5rem" } },
      "The pages of DSP are not built. Build them with: make ui. Then restart the API server.",
    );
}
