"""One file per revision, oldest first in `dsp_airflow.state.schema.REVISIONS`."""
