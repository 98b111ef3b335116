"""Phrases of simulated requests to a shop's customer service, by what their writers want."""

from collections.abc import Mapping

Phrases = Mapping[str, tuple[str, ...]]

INTENTS: Phrases = {
    "where is my order": (
        "where is my {thing}", "my {thing} should have been here {day}", "can you tell me when my {thing} arrives",
        "the tracking of order {number} has not moved since {day}", "still waiting for the {thing} i ordered {day}",
        "has order {number} been shipped yet",
    ),
    "change the address": (
        "please send order {number} to another address", "i moved, can you change where my {thing} goes",
        "the address of order {number} is wrong", "i need the {thing} delivered to my office instead",
        "how do i change my delivery address",
    ),
    "cancel the order": (
        "please cancel order {number}", "i do not want the {thing} any more, can you stop it",
        "i ordered the {thing} twice, cancel one", "how can i cancel what i ordered {day}",
        "stop order {number} before it is sent",
    ),
    "return": (
        "i want to send the {thing} back", "how do i return a {thing}", "the {thing} does not fit, where do i send it",
        "can i get a label to return order {number}", "what is your policy for sending things back",
    ),
    "refund missing": (
        "i returned the {thing} {day} and have no money yet", "where is my refund for order {number}",
        "when do i get my money back", "the refund for the {thing} has not reached my account",
        "you got my parcel {day} but did not refund me",
    ),
    "exchange": (
        "can i swap the {thing} for a larger one", "i would like the {thing} in another colour instead",
        "please exchange my {thing} for a smaller size", "is it possible to change the {thing} for another model",
    ),
    "damaged": (
        "the {thing} arrived broken", "there is a crack in my {thing}",
        "the parcel was open and the {thing} is scratched",
        "my {thing} came damaged {day}", "the box of order {number} was crushed",
    ),
    "does not work": (
        "my {thing} does not turn on", "the {thing} stopped working {day}", "how do i get the {thing} to start",
        "the {thing} makes a strange noise and then stops", "there is an error on the {thing}",
    ),
    "wrong item": (
        "i got a {other} instead of a {thing}", "you sent the wrong {thing}", "that is not the {thing} i ordered",
        "order {number} has something in it that is not mine", "i ordered a {thing} and got a {other}",
    ),
    "part missing": (
        "the cable of the {thing} is missing", "there was no manual with my {thing}",
        "only half of order {number} came",
        "the screws for the {thing} were not in the box", "one of the two parcels has not come",
    ),
    "charged twice": (
        "you charged me twice for order {number}", "there are two payments for the {thing} on my card",
        "my account shows the amount of order {number} two times", "why was the money for the {thing} taken twice",
    ),
    "payment failed": (
        "my card is declined when i pay for the {thing}", "i cannot pay, it says payment failed",
        "the payment for order {number} did not go through", "why does the shop not take my card",
        "paying for the {thing} ends in an error",
    ),
    "invoice": (
        "i need an invoice for order {number}", "please send me the bill for the {thing}",
        "the invoice has the wrong company name", "where can i download my receipt",
        "can you add our tax number to the invoice of order {number}",
    ),
    "voucher": (
        "my voucher is not accepted", "the discount code does not work for the {thing}", "how do i use a gift card",
        "the code from your mail says expired", "i forgot to enter my voucher for order {number}",
    ),
    "price": (
        "the {thing} is cheaper elsewhere, do you match prices", "how much is the {thing} with delivery",
        "the {thing} i bought {day} is cheaper now", "is there a discount for two of the {thing}",
    ),
    "in stock": (
        "when is the {thing} back in stock", "do you have the {thing} in blue",
        "is the {thing} available in your store",
        "will you get more of the {thing}", "how many of the {thing} do you have",
    ),
    "log in": (
        "i cannot log in", "i forgot my password", "the reset mail does not come", "my account is locked since {day}",
        "it says my password is wrong but it is not",
    ),
    "delete the account": (
        "please delete my account", "i want all my data removed", "how do i close my customer account",
        "remove my profile and everything you know about me",
    ),
    "newsletter": (
        "please stop sending me mails", "how do i unsubscribe from the newsletter", "i get your advertising every day",
        "take me off your mailing list",
    ),
    "warranty": (
        "how long is the warranty of the {thing}", "is my {thing} still under warranty, i bought it {day}",
        "does the guarantee cover a broken {thing}", "where do i register the {thing} for the guarantee",
    ),
    "complaint": (
        "your service is a disgrace", "i have called three times and nobody helps", "i want to speak to a manager",
        "your driver was rude {day}", "this is the worst shop i know",
    ),
}  # fmt: skip

OTHER = "other"
OUT_OF_SCOPE: tuple[str, ...] = (
    "what will the weather be {day}", "can i apply for a job at your office", "tell me a joke",
    "how do i cook rice", "my neighbour plays the {thing} all night", "who won the game {day}",
    "we offer cheap advertising for your website", "is it safe to travel {day}", "translate this sentence please",
    "what is the capital of peru", "i would like to sell you my old {thing}", "happy birthday to the whole team",
    "can you recommend a good doctor", "my dog ate the {thing}", "wrong number sorry", "are you a robot",
    "invest now and double your money", "please confirm the meeting {day}", "when does the library open",
    "the bus to work was late {day}", "do you sponsor football clubs", "i lost my keys at the station",
)  # fmt: skip

THINGS = (
    "kettle", "lamp", "jacket", "pair of shoes", "phone", "headset", "desk", "chair", "coat", "printer", "camera",
    "backpack", "blender", "monitor", "bicycle helmet", "watch", "toaster", "keyboard", "rug", "mirror",
)  # fmt: skip
DAYS = ("yesterday", "on monday", "on friday", "last week", "two weeks ago", "this morning", "in march", "a month ago")
BEFORE = ("hello,", "hi,", "good morning,", "dear team,", "hey", "excuse me,", "sorry to bother you,")
AFTER = ("thanks", "please help", "thank you very much", "it is urgent", "please answer soon", "regards")
ALIKE: Phrases = {
    "please": ("kindly", "pls"), "want": ("would like", "need"), "send": ("ship", "post"), "get": ("receive",),
    "order": ("purchase", "order no"), "arrived": ("came", "got here"), "wrong": ("incorrect",),
    "how": ("in what way",),
    "money": ("cash", "payment"), "broken": ("smashed", "in pieces"), "stop": ("halt",), "mails": ("emails",
    "messages"),
    "cheaper": ("less expensive",), "cancel": ("call off", "undo"), "account": ("profile",), "back": ("back again",),
    "can": ("could",), "my": ("our", "the"), "cannot": ("can not", "am unable to"), "delete": ("erase", "remove"),
}  # fmt: skip
