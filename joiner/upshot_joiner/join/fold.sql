-- The fold of rule.py for many predictions at once. {spine} and {events} are named sources (see fold.py), the rules of the
-- configured labels come as parameters; a label that was never configured folds by the defaults.
WITH rules AS (
  SELECT r.1 AS rule_model, r.2 AS rule_name, r.3 AS combine, r.4 AS reject_late, r.5 AS window_us, r.6 AS priority
  FROM (
    SELECT arrayJoin(arrayZip(
      {rule_models:Array(String)}, {rule_names:Array(String)}, {rule_combines:Array(String)},
      {rule_reject_late:Array(UInt8)}, {rule_windows_us:Array(Int64)}, {rule_priorities:Array(Array(String))})) AS r
  )
),
matched AS (
  SELECT
    toString(p.model) AS model, toString(e.name) AS name, p.predicted_at AS predicted_at, p.request_key AS request_key,
    p.request_id AS request_id, toString(p.model_version) AS model_version, p.item_id AS item_id,
    toString(e.op) = 'retract' AS is_retract, toString(e.op) = 'withdrawn' AS is_withdrawn, e.label_id AS label_id, e.source AS source, e.observed_at AS observed_at,
    e.received_at AS received_at,
    tuple(e.observed_at, e.label_id, toString(e.value_kind), e.value_number, e.value_text) AS event
  FROM ($events) AS e
  INNER JOIN ($spine) AS p
    ON e.request_key = p.request_key AND e.request_id = p.request_id AND e.item_id = p.item_id
  WHERE e.model = '' OR e.model = p.model
),
ranked AS (
  SELECT
    m.*, ifNull(rules.combine, 'last') AS combine,
    if(rules.rule_model IS NULL, 1,
       if(has(rules.priority, m.source), indexOf(rules.priority, m.source), length(rules.priority) + 1)) AS rank,
    -- A label that came too late leaves the row pending, and so does one that is attributed no more (attributed.py); the row is
    -- there all the same, to take an earlier outcome back.
    NOT m.is_withdrawn AND NOT (ifNull(rules.reject_late, 0)
      AND m.observed_at > m.predicted_at + toIntervalMicrosecond(ifNull(rules.window_us, 0))) AS counts
  FROM matched AS m
  LEFT JOIN rules ON m.model = rules.rule_model AND m.name = rules.rule_name
),
per_rank AS (
  SELECT
    model, name, predicted_at, request_key, request_id, model_version, item_id, combine, rank,
    countIf(is_retract AND counts) AS retractions,
    maxIf((observed_at, label_id), is_retract AND counts) AS last_retraction,
    arraySort(groupArrayIf(event, NOT is_retract AND counts)) AS sets,
    max(received_at) AS newest, min(received_at) AS oldest, count() + countIf(is_withdrawn) AS seen
  FROM ranked
  GROUP BY model, name, predicted_at, request_key, request_id, model_version, item_id, combine, rank
),
surviving AS (
  SELECT
    model, name, predicted_at, request_key, request_id, model_version, item_id, combine, rank, retractions, newest, oldest,
    seen,
    arrayFilter(
      s -> (retractions = 0 OR (s.1, s.2) > last_retraction)
        AND (combine NOT IN ('sum', 'mean', 'min', 'max') OR s.4 IS NOT NULL),
      sets) AS rank_live
  FROM per_rank
),
chosen AS (
  SELECT
    model, name, predicted_at, request_key, request_id, model_version, item_id, combine,
    argMinIf(rank_live, rank, notEmpty(rank_live)) AS live,
    sum(retractions) AS retractions, max(newest) AS received_at, min(oldest) AS first_received_at,
    sum(seen) AS events
  FROM surviving
  GROUP BY model, name, predicted_at, request_key, request_id, model_version, item_id, combine
),
-- One step a level: what a level computes is a column of the next. (Written as aliases of one level, ClickHouse expands them
-- into each other, and planning the statement takes five times as long as running it.)
numbered AS (
  SELECT
    *,
    arrayMap(s -> ifNull(s.4, nan), live) AS numbers,
    if(combine = 'majority', arrayMap(s -> if(s.4 IS NULL, concat('text', s.5), concat('number', toString(s.4 + 0.))), live), []) AS votes,
    arrayCount(s -> s.3 NOT IN ('int', 'bool'), live) = 0 AS whole
  FROM chosen
),
counted AS (
  SELECT
    *,
    multiIf(combine = 'min', arrayMin(numbers), combine = 'max', arrayMax(numbers), nan) AS extreme,
    arrayMap(v -> countEqual(votes, v), votes) AS vote_counts,
    multiIf(
      combine = 'sum', arraySum(numbers),
      combine = 'mean', arraySum(numbers) / length(numbers),
      combine = 'count', toFloat64(length(live)),
      nan) AS computed
  FROM numbered
),
positioned AS (
  SELECT
    *,
    live[multiIf(
      combine = 'first', 1,
      combine IN ('min', 'max'), indexOf(numbers, extreme),
      combine = 'majority', arrayLastIndex(c -> c = arrayMax(vote_counts), vote_counts),
      length(live))] AS pick,
    multiIf(
      empty(live), 'nothing',
      combine = 'count' OR (combine = 'sum' AND whole AND abs(computed) <= 9007199254740992), 'whole',
      combine IN ('sum', 'mean'), 'computed',
      'picked') AS source_of_value
  FROM counted
)
SELECT
  model, name, predicted_at, request_key, request_id, model_version, item_id,
  multiIf(source_of_value != 'nothing', 'labelled', retractions > 0, 'retracted', 'pending') AS state,
  transform(source_of_value, ['nothing', 'whole', 'computed'], ['', 'int', 'float'], pick.3) AS value_kind,
  multiIf(source_of_value = 'nothing', NULL, source_of_value = 'picked', pick.4, computed) AS value_number,
  multiIf(
    source_of_value = 'nothing', '', source_of_value = 'picked', pick.5, source_of_value = 'whole', toString(toInt64(computed)),
    toString(computed)) AS value_text,
  if(source_of_value = 'nothing', NULL, pick.1) AS observed_at,
  received_at, first_received_at, events
FROM positioned
