CREATE TABLE guests (
  id int PRIMARY KEY, name varchar(60) CHARACTER SET latin1 NOT NULL, note text CHARACTER SET latin1,
  code varchar(20) CHARACTER SET latin1 COLLATE latin1_german2_ci
) ENGINE=InnoDB;
INSERT INTO guests VALUES
  (1, CAST(x'5ac3bc72696368' AS BINARY), CAST(x'e282ac20f09f9880' AS BINARY), 'plain'),
  (2, CAST(x'5afc72696368' AS BINARY), CAST(x'8081' AS BINARY), CAST(x'c3bc' AS BINARY)),
  (3, CAST(x'c383c2bc' AS BINARY), NULL, CAST(x'ff' AS BINARY));
