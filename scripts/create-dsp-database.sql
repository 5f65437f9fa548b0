-- The state of dsp-airflow lives apart from Airflow's metadata. Run once, on an empty volume.
CREATE DATABASE dsp;
