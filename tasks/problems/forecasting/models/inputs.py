"""Inputs of the forecasting contract that most models of one size take."""

STUDENT_INPUTS = ("units", "observed", "future", "static")
ALL_INPUTS = (*STUDENT_INPUTS, "past", "calendar")
