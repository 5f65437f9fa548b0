-- only mysql
CREATE TABLE hidden (id int PRIMARY KEY, a int, h int DEFAULT 7 INVISIBLE, g int INVISIBLE);
SET sql_generate_invisible_primary_key = 1;
CREATE TABLE numbered (a int);
-- only mariadb
CREATE TABLE hidden (id int PRIMARY KEY, a int, h int INVISIBLE DEFAULT 7, g int INVISIBLE);
CREATE TABLE numbered (
  a int, my_row_id bigint unsigned NOT NULL INVISIBLE AUTO_INCREMENT PRIMARY KEY
);
-- all servers
INSERT INTO hidden (id, a, h, g) VALUES (1, 10, 1, 2), (2, NULL, NULL, 3), (3, -5, 5, NULL);
INSERT INTO hidden (id) VALUES (4);
INSERT INTO numbered (a) VALUES (1), (1), (NULL);
