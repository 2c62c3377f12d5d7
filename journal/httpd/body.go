package httpd

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strings"

	"copialettere/journal"
	"copialettere/policy"
	"copialettere/policy/auth"
	"copialettere/policy/setup"
)

// maxBody is the most bytes of a JSON object in a request.
const maxBody = 1 << 20

// Confirmation is the body of an act that cannot be taken back: it repeats what the act is about.
type Confirmation struct {
	Confirm string `json:"confirm"`
}

// Disable is the body that closes an archive.
type Disable struct {
	Confirmation
	Now bool `json:"now,omitempty"` // without a grace time
}

// NoticeConfirmation is the body that puts an address for notices in force: the code that was sent there, or the word of the operator.
type NoticeConfirmation struct {
	Code      string `json:"code,omitempty"`
	Confirmed bool   `json:"confirmed,omitempty"`
}

// Reason is the body of a legal hold, and of its end.
type Reason struct {
	Reason string `json:"reason"`
}

// NewAddress is the body of a rename.
type NewAddress struct {
	To string `json:"to"`
}

// NewAppPassword is the body that makes an app password.
type NewAppPassword struct {
	Name string `json:"name"`
}

// Code is a code of the second factor, of the new secret or of the one in force.
type Code struct {
	Code string `json:"code,omitempty"`
}

// NewDelegate is the body that lets somebody read a mailbox.
type NewDelegate struct {
	Person string `json:"person"`
	Until  string `json:"until"` // the last day, or a time of RFC 3339
	// As, over the admin socket, is the login of whoever lets the person read, with Password, and Code where it has a second factor.
	As       string `json:"as,omitempty"`
	Password string `json:"password,omitempty"`
	Code     string `json:"code,omitempty"`
}

// NewToken is the body that makes a token.
type NewToken struct {
	Name   string     `json:"name"`
	Domain string     `json:"domain"`
	Scope  auth.Scope `json:"scope"`           // "read" or "write"
	Until  string     `json:"until,omitempty"` // the last day, or a time of RFC 3339
}

// SetUpChoice is the body that says which account a set-up link is for.
type SetUpChoice struct {
	Account  setup.Account  `json:"account,omitempty"`  // "archive" or "mailbox"
	Incoming setup.Protocol `json:"incoming,omitempty"` // "imap" or "pop3"
}

// Messages is the body of an act on messages of one folder.
type Messages struct {
	UIDs journal.UIDs `json:"uids"` // as "5,7-20"
}

// Move is the body that moves messages.
type Move struct {
	Messages
	To string `json:"to"` // the folder, with or without its month
}

// GiveBack is the body that gives messages back.
type GiveBack struct {
	Messages
	Again bool `json:"again,omitempty"` // also those that were given back before
}

// QuotaPercent is how full the live mailbox is.
type QuotaPercent struct {
	Percent int `json:"percent"`
}

// RetentionRun is the body of a run of the retention.
type RetentionRun struct {
	DryRun bool `json:"dry_run,omitempty"` // delete nothing, only count
	Yes    bool `json:"yes,omitempty"`     // delete although the run is abnormal
}

// Assignments are settings with their new values: {"retention": "24", "write": "on"}.
type Assignments []policy.Assignment

// UnmarshalJSON reads an object of texts. It keeps the order and what is there twice, which Set refuses.
func (a *Assignments) UnmarshalJSON(b []byte) error {
	decoder := json.NewDecoder(bytes.NewReader(b))
	if start, err := decoder.Token(); err != nil || start != json.Delim('{') {
		return errors.New("want an object of settings, such as {\"retention\": \"24\"}")
	}
	*a = nil
	for decoder.More() {
		key, err := decoder.Token()
		if err != nil {
			return err
		}
		value, err := decoder.Token()
		if err != nil {
			return err
		}
		text, ok := value.(string)
		if !ok {
			return fmt.Errorf("%.100s: want its value as a text, such as \"on\" or \"24\"", key)
		}
		*a = append(*a, policy.Assignment{Key: key.(string), Value: text})
	}
	return nil
}

// MarshalJSON writes the object that UnmarshalJSON reads.
func (a Assignments) MarshalJSON() ([]byte, error) {
	b := []byte{'{'}
	for i, one := range a {
		key, err := json.Marshal(one.Key)
		if err != nil {
			return nil, err
		}
		value, err := json.Marshal(one.Value)
		if err != nil {
			return nil, err
		}
		if i > 0 {
			b = append(b, ',')
		}
		b = append(append(append(b, key...), ':'), value...)
	}
	return append(b, '}'), nil
}

// readBody reads the JSON object of a request into a new value of the type of the one in the table, and returns a pointer to it. An empty body is
// an empty object.
func readBody(w http.ResponseWriter, r *http.Request, zero any) (any, error) {
	v := reflect.New(reflect.TypeOf(zero)).Interface()
	if r.Body == nil {
		return v, nil
	}
	b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		return nil, fmt.Errorf("%w: the body does not end, or has more than %d bytes", errRequest, maxBody)
	}
	if len(bytes.TrimSpace(b)) == 0 {
		return v, nil
	}
	decoder := json.NewDecoder(bytes.NewReader(b))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(v); err != nil {
		return nil, fmt.Errorf("%w: %s", errRequest, whatIsWrong(err))
	}
	if _, err := decoder.Token(); err != io.EOF {
		return nil, fmt.Errorf("%w: want one JSON object as the body", errRequest)
	}
	return v, nil
}

// whatIsWrong says in words for the client why a body cannot be read.
func whatIsWrong(err error) string {
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		want := map[reflect.Kind]string{reflect.Bool: "true or false", reflect.String: "a text", reflect.Int: "a whole number"}[wrong.Type.Kind()]
		if want != "" && wrong.Field != "" {
			return wrong.Field + ": want " + want
		}
		return "want one JSON object as the body"
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return "the body is no JSON: it ends too early"
	}
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		return fmt.Sprintf("the body is no JSON: %v, after %d bytes", syntax, syntax.Offset)
	}
	return strings.TrimPrefix(err.Error(), "json: ")
}
