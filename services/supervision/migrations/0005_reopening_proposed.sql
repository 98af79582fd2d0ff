-- Closed cases whose reopening is proposed to the centre in charge (clause 12.3): few of all cases. The index reads the
-- folded state, which names only what differs from the default, so that the rows of the table stay as they were.
create index watched_reopening_proposed on watched (in_charge collate "C", id)
    where state like '%"reopening_proposed"%';
