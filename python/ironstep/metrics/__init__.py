"""tmp."""
from ironstep.metrics._counts import BinaryCounts
from ironstep.metrics._confidence_interval import confidence_interval
from ironstep.metrics._compare import compare, delong_test, mcnemar_test, holm
from ironstep.metrics._score_index import ScoreIndex
from ironstep.metrics._operating_point import choose_threshold, choose_and_judge
