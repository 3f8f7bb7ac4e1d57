from edgekit.report.answers import answer_facts, answer_table


def test_boxes_classes_and_texts_are_named():
    facts = answer_facts(
        [
            ("a.jpg", [[1.0, 2.0, 3.0, 4.0, 0.9, 1]]),
            ("b.jpg", [[0, 0.5]]),
            ("c.jpg", [["hi", 0.7]]),
        ],
        ("cat", "dog"),
    )
    assert facts[0]["answers"] == [{"label": "dog", "score": 0.9, "box": [1.0, 2.0, 3.0, 4.0]}]
    assert facts[1]["answers"] == [{"label": "cat", "score": 0.5}]
    assert facts[2]["answers"] == [{"label": "hi", "score": 0.7}]


def test_image_without_answers_has_a_row_and_unknown_class_its_number():
    rows = answer_table([("a.jpg", []), ("b.jpg", [[0, 0, 9, 9, 0.5, 7]])], ("cat",)).rows
    assert rows == (("a.jpg", "nothing", "", ""), ("b.jpg", "7", "0.500", "0 0 9 9"))
