package notice

import (
	"time"

	"copialettere/policy"
)

// MailboxFull returns the notice that the live mailbox, not its archive, has reached that percentage of its quota. From 100 percent on it takes
// no messages. Of each of the two kinds, nearly full and full, the owner is told once within Window.
func MailboxFull(mailbox string, percent int, now time.Time) Notice {
	n := Notice{Mailbox: mailbox, Event: policy.NotifyMailboxFull, Time: now, ID: "nearly", Percent: percent}
	if percent >= 100 {
		n.ID, n.Percent = "full", 100
	}
	return n
}

// mailboxFullText returns the text for a live mailbox that is full, or nearly so.
func mailboxFullText(percent int, l policy.Language) text {
	switch {
	case percent < 100 && l == policy.English:
		return text{"The mailbox {mailbox} is {percent}% full",
			"On {time} the mailbox {mailbox} reached {percent}% of its quota. When it is full, it takes no more messages.\n" +
				"Delete messages from the mailbox, or have its room enlarged. This is about the mailbox itself, not about its archive.\n"}
	case percent < 100:
		return text{"La casella {mailbox} è quasi piena: {percent}%",
			"Il {time} la casella {mailbox} era quasi piena: {percent}% del suo spazio. Quando è piena non riceve più messaggi.\n" +
				"Cancellare messaggi dalla casella, o far aumentare lo spazio. Si tratta della casella, non del suo archivio.\n"}
	case l == policy.English:
		return text{"The mailbox {mailbox} is full",
			"On {time} the mailbox {mailbox} was full. As long as it is full, it takes no messages: they wait or go back to their senders.\n" +
				"Delete messages from the mailbox, or have its room enlarged. This is about the mailbox itself, not about its archive.\n"}
	}
	return text{"La casella {mailbox} è piena",
		"Il {time} la casella {mailbox} era piena. Finché è piena non riceve messaggi: attendono o tornano ai mittenti.\n" +
			"Cancellare messaggi dalla casella, o far aumentare lo spazio. Si tratta della casella, non del suo archivio.\n"}
}
