-- name: ping
-- Whether the server answers.
select 1;
