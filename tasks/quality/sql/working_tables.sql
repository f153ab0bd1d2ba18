-- The working tables of the quality stage, in order. Reads `current_judgments` and `current_comparisons`, what stands in the lake,
-- `near_pairs`, and `is_new(judgment_id, revision)`. Ids become 64-bit hashes (`comparison`, `prompt`, `node_*`, `pair`) and names become
-- enumerations, so that a judgment takes about 60 bytes; among 50 million comparisons two share a hash with a probability of 7 in
-- 100,000, and would then count as one.
-- choice: 1 for a, -1 for b, 0 for a tie. first: 1 where a stood first, -1 where b did, 0 where that is unknown.
-- log_seconds: the natural logarithm, in millionths: sums of whole numbers do not depend on the order in which threads add them.

-- An enumeration needs a value, so the empty name, which nobody has, stands in each that could have none.
create type annotator_name as enum (select '' union select annotator_id from current_judgments where annotator_id is not null order by 1);
create type source_name as enum (select '' union select source from current_judgments order by 1);
create type domain_name as enum (select '' union select slice from current_comparisons order by 1);

-- Grain: one row per comparison. A response is a node: a model's text for a prompt; the two nodes of a comparison are its pair.
create temp table compared as
with told as (
    select
        hash(comparison_id) as comparison, hash(prompt_id) as prompt, slice::domain_name as domain, model_a, model_b,
        case gold_verdict when 'a' then 1 when 'b' then -1 when 'tie' then 0 end::tinyint as gold,
        hash(prompt_id, model_a, response_a) as id_a, hash(prompt_id, model_b, response_b) as id_b,
        response_a is not null and response_b is not null as known,
        if(known, length(response_a) - length(response_b), null)::integer as longer_by,
        comparison_id in (select comparison_id from near_pairs) as near
    from current_comparisons
)
select
    * exclude (id_a, id_b, known),
    if(known, id_a, null) as node_a, if(known, id_b, null) as node_b,
    if(known, hash(least(id_a, id_b), greatest(id_a, id_b)), comparison) as pair,
    least(model_a, model_b) || ' | ' || greatest(model_a, model_b) as models
from told;

create type model_pair as enum (select '' union select models from compared where models is not null order by 1);
alter table compared alter models type model_pair;

-- Grain: one row per judgment that stands, with the judgment's id.
create temp view told as
select
    judgment_id, hash(comparison_id) as comparison, annotator_id::annotator_name as annotator, annotator_kind = 'human' as human,
    case verdict when 'a' then 1 when 'b' then -1 else 0 end::tinyint as choice,
    case presented_first when 'a' then 1 when 'b' then -1 else 0 end::tinyint as first,
    preference_strength::float as strength, event_time, if(seconds_spent > 0, round(ln(seconds_spent) * 1e6), null)::integer as log_seconds,
    source::source_name as source, is_new(judgment_id, revision) as new
from current_judgments;

-- Grain: one row per judgment that stands.
create temp table judged as select * exclude (judgment_id) from told;

-- Grain: one row per annotator and comparison that has several judgments of his or hers.
create temp table repeated as
select comparison, annotator, human from judged where annotator is not null group by all having count(*) > 1;

-- Grain: one row per judgment that counts: of an annotator's judgments on one comparison the latest, of nobody known every one.
-- The same rule, for frames, is `tasks.quality.votes.votes_that_count`.
create temp table chosen as
select * from judged anti join repeated using (comparison, annotator, human)
union all
select * exclude (judgment_id) from told semi join repeated using (comparison, annotator, human)
qualify row_number() over (partition by comparison, annotator, human order by event_time desc nulls last, judgment_id desc) = 1;

-- Grain: one row per comparison that people judged: how many of them gave each verdict, and what is known of it.
create temp table counted as
select
    comparison, n_a::integer as n_a, n_tie::integer as n_tie, n_b::integer as n_b, domain, models, gold, near,
    sign(longer_by)::tinyint as longer
from (
    select comparison, count_if(choice = 1) as n_a, count_if(choice = 0) as n_tie, count_if(choice = -1) as n_b
    from chosen where human group by comparison
) join compared using (comparison);

-- Grain: one row per annotator who is known: the sources that he or she has judged in.
create temp table groups as
select annotator, string_agg(source::varchar, ' + ' order by source) as annotator_group
from (select distinct annotator, source from judged where human and annotator is not null)
group by annotator;

-- Grain: one row per source: the median strength of its preferences.
create temp table strengths as
select source, median(strength) as median_strength from chosen where choice <> 0 and strength is not null group by source;

-- Grain: one row per judgment of a person that counts, with what is known of its comparison. others_n and others_margin are the other
-- people's judgments of the comparison, and how many more of them chose a than b. One join with a row per comparison and no more: two
-- at once take more memory than the limit has for a hundred million judgments.
create temp table votes as
select
    v.* exclude (human, strength), c.domain, c.models, c.gold, c.near, c.longer, annotator_group,
    event_time::date as day,
    if(strength is null, null, (strength > 0) <> (choice <> 0)) as contradicts,
    if(strength is null, null, coalesce(choice <> 0 and strength > median_strength, false)) as strong,
    (n_a + n_tie + n_b - 1)::integer as others_n, (n_a - n_b - choice)::integer as others_margin
from chosen as v
join counted as c using (comparison)
left join groups using (annotator)
left join strengths using (source)
where human;
