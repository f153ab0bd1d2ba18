-- Grain: one row per {who}: triads of responses to one prompt whose three comparisons are decided, and how many of them are cyclic.
-- {who} and {rows}, which have a comparison and a margin of a over b, are filled in.
with crowded as (select prompt from compared group by prompt having count(*) >= 3),
edges as (
    select
        {who} as who, least(node_a, node_b) as low, greatest(node_a, node_b) as high,
        sign(sum(if(node_a > node_b, -margin, margin))) as sign
    from {rows} join (from compared semi join crowded using (prompt)) using (comparison)
    where node_a <> node_b
    group by who, low, high
    having sign <> 0
),
-- A node of a triad has two edges at least.
joined as (
    select who, node from (select who, low as node from edges union all select who, high as node from edges)
    group by all having count(*) > 1
),
meeting as (
    select edges.* from edges
    semi join joined as l on edges.who is not distinct from l.who and edges.low = l.node
    semi join joined as h on edges.who is not distinct from h.who and edges.high = h.node
)
select xy.who, count(*) as n_triads, count_if(xy.sign = yz.sign and xy.sign <> xz.sign) as cyclic_triads
from meeting as xy
join meeting as yz on xy.who = yz.who and xy.high = yz.low
join meeting as xz on xy.who = xz.who and xz.low = xy.low and xz.high = yz.high
group by xy.who
order by xy.who
