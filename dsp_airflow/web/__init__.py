"""What Airflow shows of this package: the plugin, its pages and its API."""
