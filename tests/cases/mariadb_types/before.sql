CREATE TABLE hosts (id int PRIMARY KEY, u uuid, i inet6, j inet4);
CREATE TABLE by_uuid (k uuid PRIMARY KEY, v int);
CREATE TABLE by_inet6 (k inet6 PRIMARY KEY, v int);
CREATE TABLE by_inet4 (k inet4 PRIMARY KEY, v int);
INSERT INTO hosts VALUES
  (1, '123e4567-e89b-12d3-a456-426655440000', '::', '0.0.0.0'),
  (2, '00000000-0000-0000-0000-000000000000', '2001:db8::ff00:42:8329', '255.255.255.255'),
  (3, 'FFFFFFFF-ffff-1fff-bfff-ffffffffffff', '::ffff:192.0.2.128', '10.0.0.1'),
  (4, NULL, NULL, NULL);
INSERT INTO by_uuid SELECT u, id FROM hosts WHERE id < 4;
INSERT INTO by_inet6 SELECT i, id FROM hosts WHERE id < 4;
INSERT INTO by_inet4 SELECT j, id FROM hosts WHERE id < 4;
