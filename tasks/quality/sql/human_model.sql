-- Grain: one row per model that judges, its choice and the counts of the people's: how many comparisons have these.
-- A model that judged a comparison several times and is not known by an id counts each time.
select annotator::varchar as slice, choice, n_a, n_tie, n_b, count(*) as comparisons
from chosen join counted using (comparison)
where not human
group by all
order by all
