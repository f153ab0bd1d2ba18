-- Grain: one row per annotator who is known: the median of the logarithm of the seconds, and its median absolute deviation.
select annotator, median(log_seconds) / 1e6 as median_log_seconds, mad(log_seconds) / 1e6 as log_seconds_mad
from votes where annotator is not null and log_seconds is not null
group by annotator
order by annotator
