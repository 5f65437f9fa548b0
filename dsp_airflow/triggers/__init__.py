"""What Airflow's triggerer waits for in place of workers."""
