package browser

import (
	"slices"
	"strings"
	"sync"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"copialettere/cmd/copialettere/e2e/rig"
)

// heard is what a browser has told of one tab.
type heard struct {
	top cdp.FrameID // the frame of the page; frames in it show mail, which has requests of its own

	mu         sync.Mutex
	complaints []string               // what a policy has blocked, and what went wrong in a script; guarded by mu
	loads      map[cdp.LoaderID]*load // by the document; guarded by mu
	leaving    bool                   // the page is about to be another one; guarded by mu
}

// load is how a page has come.
type load struct {
	method, url string
	status      int64
	kind        string   // media type
	bytes       int64    // of the page, unpacked
	others      []string // URLs of what it has asked for beside itself
	done        bool
}

// hear notes what the browser complains of and what it asks for. That a page was not there is for the tests to say.
func (h *heard) hear(event any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch e := event.(type) {
	case *log.EventEntryAdded:
		if e.Entry.Level == log.EntryLevelError && e.Entry.Source != log.EntrySourceNetwork {
			h.complaints = append(h.complaints, e.Entry.Text+" "+e.Entry.URL)
		}
	case *runtime.EventExceptionThrown:
		h.complaints = append(h.complaints, e.ExceptionDetails.Text+" "+e.ExceptionDetails.URL)
	case *page.EventFrameRequestedNavigation:
		h.leaving = h.leaving || e.FrameID == h.top && e.Disposition == page.ClientNavigationDispositionCurrentTab
	case *page.EventFrameStartedLoading:
		h.leaving = h.leaving || e.FrameID == h.top
	case *page.EventFrameStoppedLoading:
		h.leaving = h.leaving && e.FrameID != h.top
	case *page.EventNavigatedWithinDocument:
		h.leaving = h.leaving && e.FrameID != h.top
	case *network.EventRequestWillBeSent:
		if e.FrameID != h.top || strings.HasPrefix(e.Request.URL, "data:") {
			return
		}
		if string(e.RequestID) == string(e.LoaderID) {
			h.loads[e.LoaderID] = &load{method: e.Request.Method, url: e.Request.URL}
		} else if l := h.loads[e.LoaderID]; l != nil && !slices.Contains(l.others, e.Request.URL) {
			l.others = append(l.others, e.Request.URL)
		}
	case *network.EventResponseReceived:
		if l := h.loads[cdp.LoaderID(e.RequestID)]; l != nil {
			l.status, l.kind = e.Response.Status, e.Response.MimeType
		}
	case *network.EventDataReceived:
		if l := h.loads[cdp.LoaderID(e.RequestID)]; l != nil {
			l.bytes += e.DataLength
		}
	case *network.EventLoadingFinished:
		if l := h.loads[cdp.LoaderID(e.RequestID)]; l != nil {
			l.done = true
		}
	}
}

// settled reports whether no other page is on its way.
func (h *heard) settled() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return !h.leaving
}

func (h *heard) complained() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.complaints)
}

// forgive lets the browser complain: policies that block are what the test wants.
func (x *tab) forgive() {
	x.testing.Cleanup(func() {
		x.heard.mu.Lock()
		x.heard.complaints = nil
		x.heard.mu.Unlock()
	})
}

// loaded returns how the page has come that is there now.
func (x *tab) loaded() load {
	x.testing.Helper()
	x.settle()
	var found load
	rig.Wait(x.testing, patience, "what the browser tells of "+x.location(), func() bool {
		tree, err := chromedp.Call(x.ctx, page.GetFrameTree, cdp.Empty{})
		if err != nil {
			return false
		}
		x.heard.mu.Lock()
		defer x.heard.mu.Unlock()
		if l := x.heard.loads[tree.FrameTree.Frame.LoaderID]; l != nil && l.done {
			found = *l
			found.others = slices.Clone(l.others)
			return true
		}
		return false
	})
	return found
}

// light reports whether the page weighs less than 60 kB, and needs no more than one request beside itself.
func (l load) light() bool {
	return l.bytes < 60_000 && len(l.others) <= 1
}
