CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
CREATE TABLE accounts (
  id uuid PRIMARY KEY, email text NOT NULL UNIQUE, active boolean NOT NULL DEFAULT true,
  mood mood, tags text[] NOT NULL DEFAULT '{}', settings jsonb,
  created timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE invoices (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  account uuid NOT NULL REFERENCES accounts (id),
  net numeric(12,2) NOT NULL, pdf bytea, due date, paid time
);
CREATE TABLE readings (
  sensor int NOT NULL, at timestamptz NOT NULL, value double precision, PRIMARY KEY (sensor, at)
) PARTITION BY RANGE (at);
CREATE TABLE readings_old PARTITION OF readings FOR VALUES FROM (MINVALUE) TO ('2024-01-01+00');
CREATE TABLE readings_new PARTITION OF readings FOR VALUES FROM ('2024-01-01+00') TO (MAXVALUE);
INSERT INTO accounts VALUES
  ('0b0e1d6c-3f1d-4c1f-9d3c-0a1b2c3d4e5f', 'ada@example.org', true, 'happy', '{a,"b c",NULL}',
   '{"n": 1.50, "t": [true, null]}', '2024-02-29 12:00:00.000001+02'),
  ('ffffffff-ffff-ffff-ffff-ffffffffffff', E'tab\t "quote" \\ 😀', false, NULL, '{}', NULL,
   '1969-12-31 23:59:59.999999+00'),
  ('00000000-0000-0000-0000-000000000000', '', true, 'sad', '{""}', '[]', '9999-12-31+00');
INSERT INTO invoices OVERRIDING SYSTEM VALUE VALUES
  (1, '0b0e1d6c-3f1d-4c1f-9d3c-0a1b2c3d4e5f', -0.01, '\x00ff0a5c', '2024-02-29', '23:59:59.5'),
  (2, '00000000-0000-0000-0000-000000000000', 9999999999.99, '', NULL, NULL),
  (9223372036854775807, 'ffffffff-ffff-ffff-ffff-ffffffffffff', 0, NULL, '1000-01-01', '00:00');
INSERT INTO readings VALUES (1, '2023-12-31 23:59:59+00', 0.1), (1, '2024-01-01+00', 1e-300),
  (2, '2024-06-01+00', NULL);
