-- Runs of every age as Airflow keeps them, in a metadata database that holds none. dsp.runs: how many.
INSERT INTO dag_bundle (name) VALUES ('files') ON CONFLICT DO NOTHING;
INSERT INTO dag (dag_id, is_paused, is_stale, bundle_name, timetable_type, partition_mapper_info,
                 max_active_tasks, max_consecutive_failed_dag_runs, has_task_concurrency_limits)
  SELECT d, false, false, 'files', 'cron', '{}', 16, 0, false
  FROM unnest(ARRAY['hourly', 'asleep']) AS d;
INSERT INTO dag_version (id, version_number, dag_id, bundle_name, created_at, last_updated)
  SELECT gen_random_uuid(), 1, dag_id, 'files', now(), now() FROM dag;
INSERT INTO backfill (dag_id, from_date, to_date, dag_run_conf, reprocess_behavior, max_active_runs,
                      created_at, updated_at)
  VALUES ('hourly', now(), now(), '{}', 'none', 9, now(), now());
INSERT INTO asset (name, uri, "group", extra, created_at, updated_at)
  VALUES ('orders', 'x-dsp://orders', 'asset', '{}', now(), now());
INSERT INTO asset_event (asset_id, extra, "timestamp") VALUES (1, '{"rows": 7}', now());
INSERT INTO callback (id, type, fetch_method, data, priority_weight, created_at)
  VALUES (gen_random_uuid(), 'triggerer', 'import_path', '{}', 1, now());

-- One every six hours, back from now: every third by hand, of which some have no logical date.
INSERT INTO dag_run (dag_id, run_id, run_type, state, logical_date, run_after, queued_at, start_date,
                     end_date, conf, data_interval_start, data_interval_end, created_at, updated_at,
                     clear_number, context_carrier, log_template_id, created_dag_version_id,
                     backfill_id)
  SELECT v.dag_id, kind || '__' || n, kind, CASE n % 9 WHEN 4 THEN 'failed' ELSE 'success' END,
         CASE WHEN n % 6 = 3 THEN NULL ELSE at END, at, at, at + interval '1 second',
         at + interval '90 seconds', jsonb_build_object('n', n, 'text', E'a\tb "c"'), at, at, at, at,
         0, '{}', 2, v.id, CASE WHEN kind = 'backfill' THEN 1 END
  FROM (SELECT n, now() - n * interval '6 hours' AS at,
               CASE WHEN n % 3 = 0 THEN 'manual' WHEN n % 5 = 1 THEN 'backfill' ELSE 'scheduled' END
               AS kind FROM generate_series(1, current_setting('dsp.runs')::int) AS n) AS r
  JOIN dag_version AS v ON v.dag_id = CASE WHEN n > 400 AND n % 4 = 0 THEN 'asleep' ELSE 'hourly' END;
UPDATE dag_run SET state = 'running', end_date = NULL WHERE run_id = 'scheduled__410';
UPDATE dag_run SET end_date = now() WHERE run_id = 'scheduled__425';

INSERT INTO task_instance (id, task_id, dag_id, run_id, map_index, start_date, end_date, duration,
                           state, try_number, max_tries, pool, pool_slots, operator, executor_config,
                           updated_at, context_carrier, next_kwargs, dag_version_id)
  SELECT gen_random_uuid(), split_part(t, '.', 1), dag_id, run_id, split_part(t, '.', 2)::int,
         start_date, end_date, 1 / 3.0, CASE WHEN state = 'running' THEN 'running' ELSE 'success' END,
         2, 3, 'default_pool', 1, 'PythonOperator', '\x80057d00ff'::bytea, end_date, '{"t": "1"}',
         '{"a": [1, null, "x"]}', created_dag_version_id
  FROM dag_run, unnest(ARRAY['extract.-1', 'load.0', 'load.1', 'ask.-1']) AS t;

INSERT INTO dag_run_note SELECT 'anna', id, 'note ' || id, now(), now() FROM dag_run WHERE id % 7 = 0;
INSERT INTO dagrun_asset_event SELECT id, 1 FROM dag_run WHERE run_type = 'manual';
INSERT INTO asset_partition_dag_run (target_dag_id, created_dag_run_id, partition_key, created_at,
                                     updated_at, rollup_fingerprint)
  SELECT dag_id, id, 'p' || id, now(), now(), '{"b":1,  "a":2}' FROM dag_run WHERE id % 8 = 0;
INSERT INTO backfill_dag_run (backfill_id, dag_run_id, logical_date, sort_ordinal)
  SELECT backfill_id, id, run_after, id FROM dag_run WHERE backfill_id IS NOT NULL;
INSERT INTO deadline SELECT gen_random_uuid(), now(), now(), r.id, now(), true, c.id
  FROM dag_run AS r, callback AS c WHERE r.id % 6 = 0;
INSERT INTO task_state_store (dag_run_id, task_id, key, dag_id, run_id, value, updated_at)
  SELECT id, 'extract', 'stand', dag_id, run_id, '{"at": ' || id || '}', now()
  FROM dag_run WHERE id % 5 = 0;
INSERT INTO task_instance_note SELECT id, 'anna', 'why', now(), now() FROM task_instance
  WHERE task_id = 'extract' AND run_id LIKE '%7';
INSERT INTO task_reschedule (ti_id, start_date, end_date, duration, reschedule_date)
  SELECT id, now(), now(), 7, now() FROM task_instance, generate_series(1, 2) WHERE task_id = 'ask';
INSERT INTO task_map SELECT dag_id, task_id, run_id, map_index, 2, NULL FROM task_instance
  WHERE task_id = 'extract';
INSERT INTO xcom SELECT r.id, t.task_id, t.map_index, 'return_value', true, t.dag_id, t.run_id,
    jsonb_build_object('rows', r.id, 'list', jsonb_build_array(1.50, NULL, 'ä')), now()
  FROM task_instance AS t JOIN dag_run AS r USING (dag_id, run_id);
INSERT INTO rendered_task_instance_fields SELECT dag_id, task_id, run_id, map_index,
    '{"op_args":  [], "op_kwargs": {}}' FROM task_instance;
INSERT INTO hitl_detail (ti_id, options, subject, multiple, params, created_at, params_input)
  SELECT id, '["Approve"]', 'Go on?', false, '{}', now(), '{}' FROM task_instance
  WHERE task_id = 'ask' AND run_id LIKE '%5';
INSERT INTO task_instance_history (task_instance_id, task_id, dag_id, run_id, map_index, try_number,
                                   pool, pool_slots, trigger_timeout)
  SELECT gen_random_uuid(), task_id, dag_id, run_id, map_index, 1, pool, 1, '2026-01-02 03:04:05.678901'
  FROM task_instance WHERE run_id LIKE '%3';
INSERT INTO hitl_detail_history (ti_history_id, options, subject, multiple, params, created_at,
                                 params_input)
  SELECT task_instance_id, '["No"]', 'Go on?', true, '{}', now(), '{}' FROM task_instance_history
  WHERE task_id = 'ask';
