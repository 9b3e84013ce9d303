// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";
import {ERC721} from "@openzeppelin/contracts/token/ERC721/ERC721.sol";

/// @title Event tickets as ERC-721 tokens in the platform's custody.
/// @notice Operators set by the admin (the owner of this contract) may move the tickets of every holder, so that a
///         user's wallet needs neither a key of ours nor an approval of its own.
contract Tickets is ERC721, Ownable {
    /// @notice Whether an address may move everybody's tickets (TransferRouter and the lanes).
    mapping(address operator => bool) public isOperator;

    event OperatorSet(address indexed operator, bool allowed);

    constructor(string memory name_, string memory symbol_, address admin) ERC721(name_, symbol_) Ownable(admin) {}

    /// @notice Names or dismisses an operator that is approved for every holder.
    function setOperator(address operator, bool allowed) external onlyOwner {
        isOperator[operator] = allowed;
        emit OperatorSet(operator, allowed);
    }

    /// @notice Mints the tickets firstId .. firstId + count - 1 to one wallet. Calls no receiver hook.
    function mintMany(address to, uint256 firstId, uint256 count) external onlyOwner {
        uint256 end = firstId + count;
        for (uint256 id = firstId; id < end; ++id) {
            _mint(to, id);
        }
    }

    /// @inheritdoc ERC721
    /// @dev Nobody acts for the zero address: it "holds" the tickets that don't exist, and moving one would mint it.
    function isApprovedForAll(address holder, address operator) public view override returns (bool) {
        return (holder != address(0) && isOperator[operator]) || super.isApprovedForAll(holder, operator);
    }
}
