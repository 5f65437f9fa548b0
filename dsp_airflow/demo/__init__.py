"""`dsp demo`: the example task on real data, with every server it needs."""
