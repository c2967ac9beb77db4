-- one row per question and subgroup: the option with the largest share; ties within 1e-9 go to the first on the scale and are flagged.
-- mode_certainty: posterior probability that it is the population's mode too; posterior: its Dirichlet parameters by option
with shares as (
    select
        *,
        max(share) over (partition by item, subgroup_id) as top_share,
    from distributions
),

modes as (
    select
        item,
        subgroup_id,
        respondents,
        effective_n,
        top_share as share,
        list(code order by position) filter (where share >= top_share - 1e-9) as tied_codes,
    from shares
    group by all
),

runners_up as (
    select
        shares.item,
        shares.subgroup_id,
        max(shares.share) as share,
        arg_max(shares.code, (shares.share, -shares.position)) as code,
    from shares
    join modes using (item, subgroup_id)
    where shares.code != modes.tied_codes[1]
    group by all
),

-- What tasks/subgroups/certainty.py makes of each cell.
posteriors_in_order as (
    select
        posteriors.item,
        posteriors.subgroup_id,
        list(posteriors.posterior order by options.position) as posterior,
    from posteriors
    join options using (item, code)
    group by all
)

select
    modes.item,
    modes.subgroup_id,
    options.code,
    options.position,
    modes.share,
    runners_up.code as runner_up,
    greatest(modes.share - runners_up.share, 0) as margin,
    len(modes.tied_codes) > 1 as tied,
    modes.tied_codes,
    modes.respondents,
    modes.effective_n,
    posteriors.mode_probability as mode_certainty,
    posteriors_in_order.posterior,
from modes
join options on modes.item = options.item and modes.tied_codes[1] = options.code
join runners_up on modes.item = runners_up.item and modes.subgroup_id = runners_up.subgroup_id
join posteriors on modes.item = posteriors.item and modes.subgroup_id = posteriors.subgroup_id and modes.tied_codes[1] = posteriors.code
join posteriors_in_order on modes.item = posteriors_in_order.item and modes.subgroup_id = posteriors_in_order.subgroup_id
order by modes.item, modes.subgroup_id
