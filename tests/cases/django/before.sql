SET NAMES utf8mb4;
CREATE TABLE django_content_type (
  id int NOT NULL AUTO_INCREMENT PRIMARY KEY, app_label varchar(100) NOT NULL,
  model varchar(100) NOT NULL, UNIQUE KEY app_model (app_label, model)
) DEFAULT CHARSET=utf8mb4;
CREATE TABLE auth_user (
  id int NOT NULL AUTO_INCREMENT PRIMARY KEY, password varchar(128) NOT NULL,
  last_login datetime(6) DEFAULT NULL, is_superuser tinyint(1) NOT NULL,
  username varchar(150) NOT NULL, email varchar(254) NOT NULL, is_active tinyint(1) NOT NULL,
  date_joined datetime(6) NOT NULL, UNIQUE KEY username (username)
) DEFAULT CHARSET=utf8mb4;
CREATE TABLE auth_user_groups (
  id bigint NOT NULL AUTO_INCREMENT PRIMARY KEY, user_id int NOT NULL, group_id int NOT NULL,
  UNIQUE KEY user_group (user_id, group_id),
  CONSTRAINT groups_user FOREIGN KEY (user_id) REFERENCES auth_user (id)
) DEFAULT CHARSET=utf8mb4;
CREATE TABLE django_session (
  session_key varchar(40) NOT NULL PRIMARY KEY, session_data longtext NOT NULL,
  expire_date datetime(6) NOT NULL, KEY expire (expire_date)
) DEFAULT CHARSET=utf8mb4;
CREATE TABLE django_admin_log (
  id int NOT NULL AUTO_INCREMENT PRIMARY KEY, action_time datetime(6) NOT NULL,
  object_id longtext, object_repr varchar(200) NOT NULL, action_flag smallint unsigned NOT NULL,
  change_message longtext NOT NULL, payload json, ref char(32) NOT NULL,
  content_type_id int DEFAULT NULL, user_id int NOT NULL, CHECK (action_flag >= 0),
  CONSTRAINT log_type FOREIGN KEY (content_type_id) REFERENCES django_content_type (id),
  CONSTRAINT log_user FOREIGN KEY (user_id) REFERENCES auth_user (id)
) DEFAULT CHARSET=utf8mb4;
INSERT INTO django_content_type VALUES (1, 'auth', 'user'), (2, 'sessions', 'session');
INSERT INTO auth_user VALUES
  (1, 'pbkdf2_sha256$600000$x/y+z=', NULL, 1, 'admin', 'a@example.org', 1, '2020-01-01 00:00:00'),
  (2, '!', '2024-06-30 23:59:59.999999', 0, 'Ünal', '', 0, '2024-06-30 23:59:59.000001'),
  (9, '', '2024-06-30 00:00:00', 0, 'unal2', 'u@example.org', 1, '1970-01-01 00:00:00');
INSERT INTO auth_user_groups VALUES (1, 1, 5), (2, 1, 6), (9007199254740993, 9, 5);
INSERT INTO django_session VALUES
  ('0lq3x', '.eJxVjDsOwjAQBe-yNbL8Wf8o6TmDtfaucQA5Upx:1rT', '2024-07-01 00:00:00'),
  ('zzz', '', '2024-07-01 00:00:00.5');
INSERT INTO django_admin_log VALUES
  (1, '2024-06-01 10:00:00.1', '1', 'admin', 2, '[{"changed": {"fields": ["Email"]}}]',
   '{"a": [true, null, 1.0]}', '0b0e1d6c3f1d4c1f9d3c0a1b2c3d4e5f', 1, 1),
  (2, '2024-06-01 10:00:01', NULL, 'x', 3, '', NULL, REPEAT('f', 32), NULL, 9);
