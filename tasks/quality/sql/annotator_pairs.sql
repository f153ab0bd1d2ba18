-- Grain: one row per pair of people who judged a comparison in common: how often each pair of verdicts met there.
select
    v.annotator as annotator_1, w.annotator as annotator_2,
    {cells}
from votes as v join votes as w on v.comparison = w.comparison and v.annotator < w.annotator
group by all
order by all
