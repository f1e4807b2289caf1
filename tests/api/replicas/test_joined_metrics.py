"""The metrics of several processes in one text."""

from prometheus_client.parser import text_string_to_metric_families

from server.api.replicas.joined_metrics import join_metrics

TEXT = b"""# HELP a_total Of a
# TYPE a_total counter
a_total 1.0
# HELP b Of b
# TYPE b gauge
b{engine="0",model_name="x{y,\\"engine=\\""} %d
b{model_name="m",engine="0"} 4.0
b{engine="7"} 5.0
# HELP c Of c
# TYPE c histogram
c_bucket{le="+Inf",x=""} 3.0
c_sum{x=""} 3.0
c_count{x=""} 3.0
"""


def test_each_family_is_there_once_with_the_series_of_all() -> None:
    text = join_metrics(
        {"0": TEXT % 2, "1": TEXT % 3, "front": b"# HELP d D\n# TYPE d gauge\nd 1\n"}
    )
    families = {family.name: family for family in text_string_to_metric_families(text.decode())}
    assert list(families) == ["a", "b", "c", "d"]
    assert text.count(b"# TYPE b gauge") == 1
    assert {sample.labels["engine"] for sample in families["a"].samples} == {"0", "1"}
    samples = [(s.labels, s.value) for s in families["b"].samples]
    assert samples[0] == ({"engine": "0", "model_name": 'x{y,"engine="'}, 2)
    assert samples[3] == ({"engine": "1", "model_name": 'x{y,"engine="'}, 3)
    assert samples[1][0] == {"engine": "0", "model_name": "m"}
    assert samples[5] == ({"engine": "1"}, 5)
    assert families["d"].samples[0].labels == {"engine": "front"}
