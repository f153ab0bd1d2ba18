-- Grain: one row per annotator with event times: the longest run of one verdict as it was pressed, how often each was pressed, and the
-- sums of the slopes over the place within a sitting, which ends with a gap of more than {gap} minutes. Every sitting has a mean of its
-- own, from exact sums of whole numbers; its slope's sums are rounded to millionths and added exactly, in whatever order threads do it.
with pressed as (
    select
        annotator, event_time, comparison, log_seconds,
        if(first = 0, choice, choice * first) as pressed,
        if(choice <> 0 and others_margin <> 0, (sign(others_margin) = choice)::integer, null) as agrees
    from votes
    where annotator is not null and event_time is not null
),
marked as (
    select
        annotator, log_seconds, pressed, agrees,
        row_number() over in_time as number,
        if(pressed is distinct from lag(pressed) over in_time, number, null) as turn,
        if(coalesce(epoch_us(event_time) - epoch_us(lag(event_time) over in_time) > {gap} * 60e6, true), number, null) as beginning
    from pressed
    window in_time as (partition by annotator order by event_time, comparison)
),
-- Each in a step of its own: two of these windows in one select gave both the values of one (DuckDB 2.0.0).
turned as (
    select *, last_value(turn ignore nulls) over in_order as run
    from marked
    window in_order as (partition by annotator order by number rows between unbounded preceding and current row)
),
placed as (
    select
        annotator, log_seconds, agrees, pressed, number + 1 - run as run_so_far,
        last_value(beginning ignore nulls) over in_order as sitting, number - sitting as place
    from turned
    window in_order as (partition by annotator order by number rows between unbounded preceding and current row)
),
sittings as (
    select
        annotator, max(run_so_far) as longest_run, count(*) as n, count_if(pressed = 1) as n_first, count_if(pressed = 0) as n_ties,
        count(agrees) as n_agreement, count(log_seconds) as n_speed,
        sum(place * place) filter (agrees is not null) - sum(place) filter (agrees is not null) ** 2 / n_agreement as agreement_xx,
        sum(place * agrees) - sum(place) filter (agrees is not null) * sum(agrees) / n_agreement as agreement_xy,
        sum(place * place) filter (log_seconds is not null) - sum(place) filter (log_seconds is not null) ** 2 / n_speed as speed_xx,
        (sum(place * log_seconds) - sum(place) filter (log_seconds is not null) * sum(log_seconds) / n_speed) / 1e6 as speed_xy
    from placed
    group by annotator, sitting
)
select
    annotator,
    max(longest_run) as longest_run, sum(n) as n_pressed, sum(n_first) as n_first_pressed, sum(n_ties) as n_ties_pressed,
    coalesce(sum(round(agreement_xx * 1e6)::hugeint), 0) / 1e6 as agreement_xx,
    coalesce(sum(round(agreement_xy * 1e6)::hugeint), 0) / 1e6 as agreement_xy,
    coalesce(sum(round(speed_xx * 1e6)::hugeint), 0) / 1e6 as speed_xx,
    coalesce(sum(round(speed_xy * 1e6)::hugeint), 0) / 1e6 as speed_xy,
    sum(n_agreement) as n_agreement, sum(n_speed) as n_speed
from sittings
group by annotator
order by annotator
