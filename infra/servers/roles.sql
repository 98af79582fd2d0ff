-- One role per service, one for the vault, one database. Run by psql as admin at every start; passwords come from the
-- environment, so that they stand in no command line and no file of ours. Schemas and grants belong to the migrations.
\set ON_ERROR_STOP on
\set QUIET on
\getenv roles ROLES
\getenv passwords PASSWORDS

select format('create role %I login password %L', role, password)
from unnest(string_to_array(:'roles', ' '), string_to_array(:'passwords', ' ')) as given (role, password)
where not exists (select from pg_roles where rolname = role)
\gexec

select 'create database caseflow' where not exists (select from pg_database where datname = 'caseflow')
\gexec

\connect caseflow
revoke all on database caseflow from public;
revoke create on schema public from public;
select format('grant connect, temporary on database caseflow to %I', role)
from unnest(string_to_array(:'roles', ' ')) as given (role)
\gexec
