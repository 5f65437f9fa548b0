-- only mariadb
CREATE TABLE generated_there (
  id int PRIMARY KEY, a int, v int GENERATED ALWAYS AS (a * 2) VIRTUAL,
  s int GENERATED ALWAYS AS (a * 3) STORED,
  k varchar(20) CHARACTER SET utf8mb4 GENERATED ALWAYS AS (CONCAT('y', a)) STORED
);
-- only mysql
CREATE TABLE generated_there (
  id int PRIMARY KEY, a int, v int GENERATED ALWAYS AS (a * 2) VIRTUAL,
  s int GENERATED ALWAYS AS (a * 3) STORED,
  k varchar(20) CHARACTER SET utf8mb4 GENERATED ALWAYS AS (CONCAT('x', a)) STORED
);
