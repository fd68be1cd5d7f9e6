"""Events that come by Kafka: from the topics to the writer's queue, and what cannot be taken to a topic of its own.

In come messages of ``upshot.predictions`` and ``upshot.labels``, in any form that HTTP takes. Out go checked events to the
committer, refused ones to quarantine and to ``upshot.dead``, and offsets back to Kafka: only when everything before them is stored
(and every dead letter acknowledged). A message may come again at any time, which changes nothing; none is passed over.
"""
