-- one row per topic, or all topics, and dimension: mean Modal Diversity Score of its questions, with its interval
with topics as (
    select
        case when grouping(topic) = 1 then 'All topics' else topic end as topic,
        dimension,
        count(*) as questions,
        avg(mds) as mds,
    from landscape
    group by grouping sets ((topic, dimension), (dimension))
)

select
    topics.topic,
    topics.dimension,
    topics.questions,
    topics.mds,
    diversity_intervals.mds_expected,
    diversity_intervals.low,
    diversity_intervals.high,
    diversity_intervals.mds_sampling,
from topics
join diversity_intervals on topics.topic = diversity_intervals.topic and topics.dimension = diversity_intervals.dimension
where diversity_intervals.item is null
order by topics.topic, topics.dimension
