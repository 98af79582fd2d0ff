-- One key of `seen` may hold all cases (a province's) or one (a person's). Told that a key holds a twentieth of them, the
-- planner always walks it in order; told the average, it would now and then fetch a whole province and sort it.
alter table seen alter who set (n_distinct = 20);
