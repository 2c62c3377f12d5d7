package httpd

import (
	"time"

	"copialettere/policy/pec"
)

// EvidenceView is one evidence of a REM message. Others script against its names. What is absent was absent in the evidence.
type EvidenceView struct {
	Event             string          `json:"event"`                // such as "ContentConsignment"
	Equivalent        string          `json:"equivalent,omitempty"` // the class of the PEC receipt that says the same
	Time              *time.Time      `json:"time,omitempty"`
	TimeWritten       string          `json:"time_written,omitempty"` // as written there
	Submitted         string          `json:"submitted,omitempty"`    // as written there
	Identifier        string          `json:"identifier,omitempty"`
	MessageIdentifier string          `json:"message_identifier,omitempty"` // names the practice
	MessageID         string          `json:"message_id,omitempty"`         // the one that the sender's program had set
	Issuer            string          `json:"issuer,omitempty"`
	Sender            string          `json:"sender,omitempty"`
	Subject           string          `json:"subject,omitempty"`
	Reasons           []ReasonView    `json:"reasons,omitempty"`
	Recipients        []RecipientView `json:"recipients,omitempty"`
	RefersTo          []int           `json:"refers_to,omitempty"` // the recipients it is about, counted from 1
	Error             string          `json:"error,omitempty"`     // why it is not whole
}

// ReasonView is one reason of an event.
type ReasonView struct {
	Code    string   `json:"code,omitempty"`    // a URI
	Details []string `json:"details,omitempty"` // such as "RD04", and a text
}

func viewEvidence(list []pec.Evidence) []EvidenceView {
	var views []EvidenceView
	for i := range list {
		e := &list[i]
		v := EvidenceView{
			Event: e.EventName(), Time: known(e.At), TimeWritten: e.Time, Submitted: e.Submitted, Identifier: e.Identifier,
			MessageIdentifier: e.MessageIdentifier, MessageID: e.ClientIdentifier, Issuer: e.Issuer, Sender: e.Sender, Subject: e.Subject,
			RefersTo: e.RefersTo, Error: e.Error,
		}
		if class := e.Equivalent(); class != pec.Ordinary {
			v.Equivalent = string(class)
		}
		for _, r := range e.Reasons {
			v.Reasons = append(v.Reasons, ReasonView(r))
		}
		for _, r := range e.Recipients {
			v.Recipients = append(v.Recipients, RecipientView{r.Address, r.Kind})
		}
		views = append(views, v)
	}
	return views
}
