-- Grain: one row per slice and annotator, those who are not known together: the sums behind every share of judgments.
-- {slice} is filled in.
select
    {slice} as slice,
    annotator,
    count(*) as n_judgments,
    count_if(choice = 0) as n_ties,
    count_if(choice <> 0 and first <> 0) as n_presented,
    count_if(choice <> 0 and first = choice) as n_first,
    count(*) filter (choice <> 0 and longer <> 0) as n_lengths,
    count(*) filter (choice <> 0 and longer = choice) as n_longer,
    count(gold) as n_gold,
    count(*) filter (gold = choice) as n_gold_passed,
    count(contradicts) as n_strength,
    count(*) filter (contradicts) as n_contradictions,
    count_if(near) as n_near,
    count_if(near and choice <> 0) as n_near_decided,
    count_if(near and strong is not null) as n_near_strength,
    count(*) filter (near and strong) as n_near_strong,
    count(if(annotator is null, null, log_seconds)) as n_seconds,
    coalesce(sum(if(annotator is null, null, log_seconds)), 0) / 1e6 as log_seconds,
    count_if(choice <> 0 and others_margin <> 0) as n_majority,
    count_if(choice <> 0 and sign(others_margin) = choice) as n_with_majority
from votes
where slice is not null
group by slice, annotator
order by slice, annotator
