"""The package's own database: runs, batches, receipts, mails. Never Airflow's."""
