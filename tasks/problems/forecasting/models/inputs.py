"""Most models of one size take these inputs of the forecasting contract."""

STUDENT_INPUTS = ("units", "observed", "future", "static")
ALL_INPUTS = (*STUDENT_INPUTS, "past", "calendar")
