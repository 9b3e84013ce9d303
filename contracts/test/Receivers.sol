// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IERC721} from "@openzeppelin/contracts/token/ERC721/IERC721.sol";
import {IERC721Receiver} from "@openzeppelin/contracts/token/ERC721/IERC721Receiver.sol";
import {TransferRouter} from "../src/TransferRouter.sol";

// Recipients for tests and trials only; none of them is part of the service.

/// @notice A contract that knows nothing of ERC-721: OpenZeppelin tokens refuse to be sent to it.
contract NotAReceiver {}

/// @notice Takes every ticket.
contract AcceptingReceiver is IERC721Receiver {
    function onERC721Received(address, address, uint256, bytes calldata) external pure returns (bytes4) {
        return IERC721Receiver.onERC721Received.selector;
    }
}

/// @notice Refuses every ticket, with a reason.
contract RefusingReceiver is IERC721Receiver {
    function onERC721Received(address, address, uint256, bytes calldata) external pure returns (bytes4) {
        revert("no tickets, please");
    }
}

/// @notice Uses `appetite` gas, then accepts.
contract GreedyReceiver is IERC721Receiver {
    uint256 private immutable appetite;

    constructor(uint256 appetite_) {
        appetite = appetite_;
    }

    function onERC721Received(address, address, uint256, bytes calldata) external view returns (bytes4) {
        uint256 start = gasleft();
        while (start - gasleft() < appetite) {}
        return IERC721Receiver.onERC721Received.selector;
    }
}

/// @notice Reverts with `size` bytes: whoever copies them all pays for it.
contract ReturnBombReceiver is IERC721Receiver {
    uint256 private immutable size;

    constructor(uint256 size_) {
        size = size_;
    }

    function onERC721Received(address, address, uint256, bytes calldata) external view returns (bytes4) {
        uint256 length = size;
        assembly {
            revert(0, length)
        }
    }
}

/// @notice Calls the router again from inside the hook, and tries to take another ticket of the sender.
contract ReenteringReceiver is IERC721Receiver {
    TransferRouter private immutable router;
    uint256 public refusedCalls;

    constructor(TransferRouter router_) {
        router = router_;
    }

    function onERC721Received(address, address from, uint256 id, bytes calldata) external returns (bytes4) {
        address[] memory to = new address[](1);
        uint256[] memory ids = new uint256[](1);
        to[0] = address(this);
        ids[0] = id + 1;
        try router.transferMany(keccak256(abi.encode(id)), msg.sender, from, to, ids) {} catch {
            ++refusedCalls;
        }
        try IERC721(msg.sender).transferFrom(from, address(this), id + 1) {} catch {
            ++refusedCalls;
        }
        return IERC721Receiver.onERC721Received.selector;
    }
}

/// @notice Passes each ticket on at once, so that ownerOf after the transaction isn't the recipient.
contract ForwardingReceiver is IERC721Receiver {
    address private immutable beneficiary;

    constructor(address beneficiary_) {
        beneficiary = beneficiary_;
    }

    function onERC721Received(address, address, uint256 id, bytes calldata) external returns (bytes4) {
        IERC721(msg.sender).transferFrom(address(this), beneficiary, id);
        return IERC721Receiver.onERC721Received.selector;
    }
}
