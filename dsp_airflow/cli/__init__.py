"""The command ``dsp``. What a command needs is imported when it runs, not before."""
