-- name: seed_cases
-- Cases by SQL alone: 20 counties of one city with 20 townships of 20 villages, a unit and people in every township.
insert into cases (id, subject, stream, sequence, version, state, born, status, open, late, nature, subject_code, severity,
                   region, in_charge, unit, person, co_units, people, first_asked, complained_unit, stand_aside, informant,
                   registered_at, settled_at, closed_at, last_at, due, repeats, ties, lane)
select md5(n::text)::uuid, 'case.' || n, 'LOG_5101', n, 8, s.state, n, x.status, x.open, x.late, 'help', 'water.supply',
       'general', p.village, p.village, p.unit, p.person, '{}', array[p.person], p.desk, null, '{}', false, x.at, x.at, null,
       x.at, x.at + interval '5 days', 0,
       array['51', '5101', left(p.village, 6), left(p.village, 9), p.village, p.unit, '@' || p.person, '@' || p.desk],
       (2 * x.open::int + x.late::int)::smallint
from generate_series(1, $1::int) n
     cross join lateral (
         select t.township || lpad((1 + n / 400 % 20)::text, 3, '0') as village, t.township || '000-housing' as unit,
                'p' || t.township || '.' || n / 7 % 5 as person, 'd' || t.township || '.' || n / 11 % 3 as desk
         from (select '5101' || lpad((1 + n % 20)::text, 2, '0') || lpad((1 + n / 20 % 20)::text, 3, '0') as township) t
     ) p
     cross join lateral (
         select n % 20 = n / 20 % 20 as open, n % 20 = n / 20 % 20 and n % 10 = 0 as late,
                case when n % 20 = n / 20 % 20 then (array['handling', 'assigned', 'awaiting_triage'])[1 + n / 3 % 3]
                     else 'closed' end as status,
                timestamptz '2026-03-02' + n * interval '20 seconds' as at
     ) x
     cross join (select jsonb_build_object('status', 'closed', 'version', 8, 'region', repeat('5', 300)) as state) s;

-- name: seed_seen
-- Their keys.
insert into seen (who, lane, registered_at, id) select unnest(ties), lane, registered_at, id from cases;

-- name: seed_tallies
-- Their counts.
insert into tallies select in_charge, status, late, count(*) from cases group by 1, 2, 3;

-- name: analyze
-- As autovacuum would soon.
analyze;
