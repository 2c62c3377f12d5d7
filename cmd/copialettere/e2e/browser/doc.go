// Package browser tests the pages in a real browser, Debian's Chromium without its windows, which the tests drive through the DevTools protocol. The pages
// come from the program itself, run by the rig of the end-to-end tests, with mail delivered by LMTP and SMTP.
//
// Most tests share one daemon and one browser, and run side by side (TestSite), each with mailboxes of its own; "go test -run TestSite/NAME" runs one. Its
// test "pages" visits every page of pages.Routes, and fails when there is one that it does not know.
//
// It is a module of its own, so that the program's go.mod names no library that only a browser test needs. Run it with "make browser". With
//
//	go test -run TestSite/pages . -screenshots FOLDER
//
// it writes pictures of the main pages. "make screenshots" does so, and renews those in contrib/screenshots, which the README shows.
package browser
