package httpd

import (
	"io"
	"net/http"
	"time"
)

// patience is how long a client on the Internet may take to read what is sent at a time, and how long an answer may take to begin or to go on.
const patience = 2 * time.Minute

// After so long, or so many bytes, of an answer it is asked again whether its reader may have it.
const (
	askedEvery = 5 * time.Second
	askedAfter = 1 << 20
)

// Patient gives a client time for each part of a long answer, instead of for the whole of it. It ends the answer when its reader may not have it any more:
// a right, a session or a token may end while a slow client reads. It is for one goroutine.
type Patient struct {
	http.ResponseWriter
	control *http.ResponseController
	again   func() error // nil where nothing is asked
	asked   time.Time    // when it was asked last
	sent    int          // bytes since
	ended   error
}

// NewPatient returns a Patient. again returns an error if the answer may not go on; nil asks nothing.
func NewPatient(w http.ResponseWriter, again func() error) *Patient {
	p := &Patient{ResponseWriter: w, control: http.NewResponseController(w), again: again, asked: time.Now()}
	p.wait()
	return p
}

// wait is without effect where the connection knows no deadlines, as in tests.
func (p *Patient) wait() { p.control.SetWriteDeadline(time.Now().Add(patience)) }

// Write implements http.ResponseWriter.
func (p *Patient) Write(b []byte) (int, error) {
	if p.ended == nil && p.again != nil && (p.sent >= askedAfter || time.Since(p.asked) >= askedEvery) {
		p.ended = p.again()
		p.asked, p.sent = time.Now(), 0
	}
	if p.ended != nil {
		return 0, p.ended
	}
	p.wait()
	n, err := p.ResponseWriter.Write(b)
	p.sent += n
	return n, err
}

// Close cuts the answer off if it was ended, so that the client sees that it is not whole. It is to be called when all is written.
func (p *Patient) Close() {
	if p.ended != nil {
		panic(http.ErrAbortHandler)
	}
}

// Unwrap serves http.ResponseController.
func (p *Patient) Unwrap() http.ResponseWriter { return p.ResponseWriter }

// PatientReader gives a client time for each part of a long body, instead of for the whole of it, and then for reading the answer.
type PatientReader struct {
	control *http.ResponseController
	body    io.Reader
}

// NewPatientReader returns a PatientReader of the body of a request, which may be nil.
func NewPatientReader(w http.ResponseWriter, body io.Reader) *PatientReader {
	return &PatientReader{http.NewResponseController(w), body}
}

// Read implements io.Reader. The deadlines are without effect where the connection knows none, as in tests.
func (p *PatientReader) Read(b []byte) (int, error) {
	if p.body == nil {
		return 0, io.EOF
	}
	p.Extend()
	return p.body.Read(b)
}

// Extend gives the client time anew. It is to be called at least once a minute by who works between reading and answering.
func (p *PatientReader) Extend() {
	deadline := time.Now().Add(patience)
	p.control.SetReadDeadline(deadline)
	p.control.SetWriteDeadline(deadline)
}
