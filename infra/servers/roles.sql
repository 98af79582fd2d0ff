-- One role per service, one for the vault, one database. Run by psql as admin at every start; passwords come from the
-- environment, so that they stand in no command line and no file of ours. Schemas and grants belong to the migrations.
\set ON_ERROR_STOP on
\set QUIET on
\getenv intake PASSWORD_INTAKE
\getenv routing PASSWORD_ROUTING
\getenv supervision PASSWORD_SUPERVISION
\getenv reporting PASSWORD_REPORTING
\getenv vault PASSWORD_VAULT

select format('create role %I login password %L', role, password)
from (values ('intake', :'intake'), ('routing', :'routing'), ('supervision', :'supervision'),
             ('reporting', :'reporting'), ('vault', :'vault')) as wanted (role, password)
where not exists (select from pg_roles where rolname = role)
\gexec

select 'create database caseflow' where not exists (select from pg_database where datname = 'caseflow')
\gexec

\connect caseflow
revoke all on database caseflow from public;
revoke create on schema public from public;
grant connect, temporary on database caseflow to intake, routing, supervision, reporting, vault;
