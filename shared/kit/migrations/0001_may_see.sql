-- The SQL form of shared/kit/access.py: whether a caller may read a case with its content.
-- `reads` is the right READ; stems are the significant digits of a region code. A plain SQL expression, so the planner
-- sees through it. Kept equal to the Python form by a property test.
create function kit.may_see(
    caller_person text, caller_unit text, caller_stem text, reads boolean,
    region text, in_charge text, unit text, co_units text[], first_asked text, people text[],
    complained_unit text, stand_aside text[]
) returns boolean language sql immutable parallel safe as $$
    select complained_unit is distinct from caller_unit
       and not (caller_person = any (stand_aside))
       and ((reads and (starts_with(in_charge, caller_stem) or starts_with(region, caller_stem)))
            or coalesce(unit = caller_unit, false)
            or caller_unit = any (co_units)
            or first_asked = caller_person
            or caller_person = any (people))
$$;
