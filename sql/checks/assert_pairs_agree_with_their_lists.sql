-- one row per pair without k options whose k shares sum to 1, or whose target is none of its tied options
select
    item,
    subgroup_id,
    code,
    codes,
    shares,
from pairs
where
    (
        len(codes) = k
        and len(shares) = k
        and abs(list_sum(shares) - 1) <= 1e-9
        and list_contains(tied_codes, code)
        and list_has_all(codes, tied_codes)
    ) is not true
