"""Most students take STUDENT_INPUTS of the forecasting contract, most teachers ALL_INPUTS."""

STUDENT_INPUTS = ("units", "observed", "future", "static")
ALL_INPUTS = (*STUDENT_INPUTS, "past", "calendar")
